"""A client of a control plane, in this process or over a network: `stigmer.Client`.

`client` is what users make, `kinds` (generated) what it offers of each kind, `service` and `resources` how that becomes
requests, `calls` how they are made.
"""

from stigmer.client.client import Client
from stigmer.client.listing import Listing, Page

__all__ = ["Client", "Listing", "Page"]
