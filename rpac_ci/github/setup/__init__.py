"""
`rpac init`: what a repository needs so that comments on its pull requests reproduce experiments.

`sources` says what the runners install, `generated` makes the files and knows what became of them,
`setup` compares that with what the repository has: a change that is shown before it is made.
"""
