#!/bin/sh
# Run the tests on the build in build/asan. A report goes to stderr, so pytest must leave that open (--capture=sys):
# what it holds is lost when the sanitizer ends the process.
# Without arguments those modules are left out that are about Python code alone: they take minutes, and reach no C that
# the others do not. --one-process leaves out those, too, that start programs (masters and workers, mostly to kill them):
# most of their time goes into loading the sanitizer; and those that go the ways of others once more.
# usage: tools/run_asan.sh PYTHON [--one-process | PYTEST_ARGUMENT...]
set -eu
python=$1
shift

python_alone="access_log conditional content_codings cookies cors csrf dates
    deployment_pages distribution docs docs_blocks docs_site errors_form
    example_behind_nginx example_client_certificates example_dashboard example_file_server example_hello example_todo
    example_uploads examples forwarded hook_checks negotiation ranges rate_limit redirect release_tools
    repository request_id
    security_headers sessions signing speed_picture static_options
    testing testing_async testing_cookies testing_decoding testing_exchange testing_multipart testing_parser
    testing_requests time_limit typed_json types url_for vary ws_handshake"
programs="build clients deployment drain_process newcomer port_holder privileges processes reload server_process stub
    systemd tutorial upgrade uploads_memory weblatch worker"
left_out=
if [ $# = 0 ]; then
    left_out=$python_alone
elif [ "$1" = --one-process ]; then
    shift
    left_out="$python_alone $programs"
    set -- --ignore=tests/chaos --ignore=tests/cli --ignore=bench/micro --ignore=tests/tls/test_faults.py "$@"
    for name in access_log builtin_hooks cookies probes slow_handlers stats typed_json ways; do
        set -- "$@" "--ignore=tests/wire/test_$name.py"
    done
fi
for name in $left_out; do
    set -- "$@" "--ignore=tests/test_$name.py"
done

LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 # it leaks on purpose at its end; too much is a MemoryError
UBSAN_OPTIONS=print_stacktrace=1
PYTHONMALLOC=malloc # so that objects are seen one by one, not as pymalloc's arenas
PYTHONPATH=$PWD/build/asan/src
export LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS PYTHONMALLOC PYTHONPATH

"$python" -c 'import web._core as core; assert "/build/asan/" in core.__file__, core.__file__'
exec "$python" -X dev -m pytest --benchmark-disable --capture=sys -m "not no_asan" "$@"
