# 082_kills.pl with a thousand kills (fault F1): SPINE_FAULT_ROUNDS, SPINE_FAULT_SEED.
use strict;
use warnings;

our $rounds = $ENV{SPINE_FAULT_ROUNDS} || 1000;
require "$ENV{SPINE_SOURCE}/test/t/082_kills.pl";
