"""The networks themselves, as plain torch modules."""
