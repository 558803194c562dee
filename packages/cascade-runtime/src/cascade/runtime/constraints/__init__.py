"""Control from outside: registers, the gates that they make, and the manager that follows a broker."""
