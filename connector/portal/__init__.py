"""The configuration portal and the configuration API, over the same functions of `tenants` and `messages`."""

from connector.portal.api import blueprint as api_blueprint
from connector.portal.messages_api import blueprint as messages_api_blueprint
from connector.portal.messages_pages import blueprint as messages_pages_blueprint
from connector.portal.pages import blueprint as pages_blueprint

__all__ = ["api_blueprint", "messages_api_blueprint", "messages_pages_blueprint", "pages_blueprint"]
