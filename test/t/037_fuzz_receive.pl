# A thousand spoilt batches at spine.receive() (attacks 65, 67, 69 and 70; faults F13, F15, F24); more of them: slow_fuzz_receive.pl.
use strict;
use warnings;

use SpineFuzz;
use Test::More;

fuzz_receive(batches => 1000, seed => $ENV{SPINE_FUZZ_SEED} || 20261128);
done_testing();
