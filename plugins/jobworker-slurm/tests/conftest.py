"""The fixture `jobworker_agent`: a real agent in a temporary folder."""

pytest_plugins = ["jobworker.testing"]
