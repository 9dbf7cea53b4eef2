"""The gate for CI: budgets, what may be compared, and the verdict. Pure, from files alone."""
