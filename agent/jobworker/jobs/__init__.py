"""Jobs from spec to exit: their lifecycle, the manager, deadlines, the store and log cursors."""
