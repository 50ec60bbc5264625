"""The steps that pipelines are made of, named as in the original server: one a file, or the few of one RPC together.

Beside them is what several need: `audit`, `other_kinds`, `page_token`, `fitting`.
"""
