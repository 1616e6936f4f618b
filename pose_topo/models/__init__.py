"""The networks: backbones, the two models, the topographic layer, its spatial losses and other code's checkpoints."""
