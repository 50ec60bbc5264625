"""Who calls, what they may do, whose resources they see: nothing here knows the server, the store or any kind."""
