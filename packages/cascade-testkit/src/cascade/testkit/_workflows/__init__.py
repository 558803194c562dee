"""Random workflows, and a simple evaluator that says what each of them must give."""
