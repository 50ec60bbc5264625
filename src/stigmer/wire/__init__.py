"""What bytes are: descriptors, the codec and its converters, limits on messages, faults, masking."""
