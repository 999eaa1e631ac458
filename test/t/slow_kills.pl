# 082_kills.pl with a thousand kills (fault F1): SPINE_KILL_ROUNDS, SPINE_KILL_SEED.
use strict;
use warnings;

our $rounds = $ENV{SPINE_KILL_ROUNDS} || 1000;
require "$ENV{SPINE_SOURCE}/test/t/082_kills.pl";
