"""Secret values: where they stand in a message, how they are sealed at rest, and the keys that seal them."""
