/**
 * Programs for the demo guest, which has Perl. Each leaves its number in /run/NAME.pid once it is ready; what they say of themselves
 * lies in memory (/run), so that it goes back in time with them.
 */

const say = `
use strict; use warnings; use Socket; use Fcntl qw(:DEFAULT :flock); use IO::Handle;
sub write_file { my ($name, $text) = @_; open(my $file, '>', "$name.new") or die "$name: $!"; print $file $text; close $file; rename("$name.new", $name); }
sub end_state { my ($socket, $last, $connections) = @_;
  my ($local) = sockaddr_in(getsockname $socket); my ($peer) = sockaddr_in(getpeername $socket);
  write_file('/run/end.state', "$local $peer $last $connections"); }
`;

/**
 * The two ends of one TCP connection: the client sends 1, 2, 3, ..., each after the answer to the one before. An end
 * that sees a gap or loses the connection dies; neither ever connects or accepts to go on where it was.
 */
export const connectionEnds = {
  client: (address: string, port: number): string => `${say}
socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
connect($socket, sockaddr_in(${port}, inet_aton('${address}'))) or die "connect: $!";
$socket->autoflush(1);
write_file('/run/end.pid', $$);
for (my $number = 1; ; $number++) {
  print $socket "$number\\n" or die "send: $!";
  my $answer = <$socket>;
  die "the connection ended at $number\\n" unless defined $answer;
  die "$answer instead of $number\\n" unless $answer eq "$number\\n";
  end_state($socket, $number, 1);
  select(undef, undef, undef, 0.03);
}`,
  server: (port: number): string => `${say}
socket(my $listening, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listening, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listening, sockaddr_in(${port}, INADDR_ANY)) or die "bind: $!";
listen($listening, 5) or die "listen: $!";
write_file('/run/end.pid', $$);
my ($connections, $last) = (0, 0);
while (accept(my $socket, $listening)) {
  $connections++;
  $socket->autoflush(1);
  while (defined(my $line = <$socket>)) {
    chomp $line;
    die "$line follows $last\\n" unless $line == $last + 1;
    $last = $line;
    end_state($socket, $last, $connections);
    print $socket "$line\\n" or die "answer: $!";
  }
}`,
};

/** `struct flock` of Linux on x86-64: type, whence, start, length, process. */
const record = `sub record { return pack('s s x4 q q i x4', $_[0], 0, 0, 0, 0); }`;

/** Holds a lock of each kind on a file of the data disk until it is killed. */
export const lockHolder = `${say}${record}
open(my $whole, '+>', '/data/flock') or die "flock: $!";
flock($whole, LOCK_EX | LOCK_NB) or die "flock: $!";
open(my $ranged, '+>', '/data/fcntl') or die "fcntl: $!";
fcntl($ranged, F_SETLK, record(F_WRLCK)) or die "fcntl: $!";
write_file('/run/holder.pid', $$);
sleep 3600;`;

/** Wants both locks at once, and says what came of it and who holds the second one (0: nobody). */
export const lockTaker = `${say}${record}
open(my $whole, '+<', '/data/flock') or die "flock: $!";
my $first = flock($whole, LOCK_EX | LOCK_NB) ? 'taken' : $!{EWOULDBLOCK} ? 'refused' : die "flock: $!";
open(my $ranged, '+<', '/data/fcntl') or die "fcntl: $!";
my $asked = record(F_WRLCK);
fcntl($ranged, F_GETLK, $asked) or die "fcntl: $!";
my ($type, $whence, $start, $length, $holder) = unpack('s s x4 q q i x4', $asked);
my $second = fcntl($ranged, F_SETLK, record(F_WRLCK)) ? 'taken' : $!{EAGAIN} || $!{EACCES} ? 'refused' : die "fcntl: $!";
print "$first $second $holder\\n";`;
