"""Servers for tests: started on the loopback interface, and stopped, by the tests themselves."""
