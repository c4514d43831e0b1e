"""Engines: where model requests are computed. One engine a file; see ``base`` for the interface."""
