"""What steps stand on: the call, the pipeline that runs them, its unit of work, kinds, ids and rules."""
