from tests.support.store import *  # noqa: F403
