"""Random workflows, and a simple evaluator that computes what each of them must give."""
