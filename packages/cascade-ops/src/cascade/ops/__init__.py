"""Commands for the operator who sets up the broker and keeps the records: doctor, acl, collect, ha and prune."""
