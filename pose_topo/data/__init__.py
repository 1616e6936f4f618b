"""From sources on the network or on disk to augmented batches on the device."""
