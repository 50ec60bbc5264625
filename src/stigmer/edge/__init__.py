"""The one door that every call passes, from the network or from this process, and the interceptors around it."""
