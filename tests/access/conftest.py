"""What holds for tests of access."""

from __future__ import annotations

import pytest

from stigmer.access.jwt_keys import Keys


@pytest.fixture(autouse=True)
def _issuers_have_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an issuer of this process may need more than a server gives one."""
    defaults = Keys.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "fetch_s", 60.0)
