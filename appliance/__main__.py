"""`python -m appliance` is the `arhivar` command."""

import sys

from appliance.cli import main

sys.exit(main())
