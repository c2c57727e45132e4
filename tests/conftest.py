"""The fixtures of every test; they live in fix_*.py."""

pytest_plugins = ["tests.fix_servers", "tests.fix_proxy"]
