"""All features as data, one module per family. What they are computed by is in `ratchet.features.kernel`."""
