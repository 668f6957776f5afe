# Runs in dom0 once its saved state has been loaded: sets the clock, which stood still, and stirs the pool of random
# numbers, which is every lab's that begins with that state. Its input are random bytes.
use strict;
use warnings;

my ($seconds, $microseconds) = @ARGV;
my $SYS_SETTIMEOFDAY = 164;   # on x86-64
my $now = pack('qq', $seconds, $microseconds);
syscall($SYS_SETTIMEOFDAY, $now, 0) == 0 or die "settimeofday: $!\n";
open(my $pool, '>', '/dev/urandom') or die "/dev/urandom: $!\n";
print $pool join('', <STDIN>);
