"""The audit of resources with secrets: who created, saw, changed and deleted them, or tried to, in a chained log.

`trail` makes the records of calls, `counts` those that count, `keys` has what they are hashed and signed with, `upkeep`
signs checkpoints and drops what is too old, `reading` and `verifying` are for who looks at it. The form of the records
is `secrets.audit`'s; that each of them is in the transaction that it tells of, `store.staging` sees to.
"""
