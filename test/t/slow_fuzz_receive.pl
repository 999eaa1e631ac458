# A hundred thousand spoilt batches at spine.receive(). SPINE_FUZZ_SEED: which.
use strict;
use warnings;

use SpineFuzz;
use Test::More;

fuzz_receive(batches => 100_000, seed => $ENV{SPINE_FUZZ_SEED} || time);
done_testing();
