"""From an annotation file and photographs to augmented batches on the device."""
