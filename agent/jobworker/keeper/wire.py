"""Messages and their version: between agent and keeper, keeper and pump, and in the journal."""

import json

VERSION = 1  # of messages and journal, described in ``docs/reference/``
MESSAGE = 262144  # bytes; a larger message comes as a file in memory
encode = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder at each call
