"""A telephone number that the operator bought for one tenant: no other may send from it, and so in its name.

What a tenant buys itself is its own already. Any other number that the stamp's Communication resource holds serves
whichever tenant types it, until the operator says whose it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from connector.errors import RefusedError
from connector.tenants import prove_number, senders

if TYPE_CHECKING:
    from connector.bootstrap import Services

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def own_number(services: Services, number: str, tenant_id: str) -> list[str]:
    """From now on no other tenant can add the number; tenants that had added it before.

    Raises RefusedError: no such number or tenant.
    """
    if not _E164.fullmatch(number):
        raise RefusedError("number.malformed", "The number must look like +18005550100.")
    owner = services.directory.scope(tenant_id)
    prove_number(owner, number)
    others = [s for s in services.directory.every_scope() if s.region is owner.region and s.tenant_id != tenant_id]
    return [other.tenant_id for other in others if any(one.value == number for one in senders(other))]
