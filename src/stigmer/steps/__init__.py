"""The steps that pipelines are made of: one a file, named as in the seeds."""
