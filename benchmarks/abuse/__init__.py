"""What one caller can do to the others: attacks on a served process, with well-behaved clients beside them."""
