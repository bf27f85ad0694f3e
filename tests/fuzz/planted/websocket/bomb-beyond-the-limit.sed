# What a message inflates to is compared too late.
s/if f.produced > limit:/if f.produced > limit + 100:/
