/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench/w6.cpp - memory: bytes an entry net of its payload, each in a process of its own. */
#include <sys/wait.h>
#include <unistd.h>

#include "compete.hpp"
#include "foreign.hpp"
#include "measure.hpp"
#include "peers.hpp"
#include "workload.hpp"

namespace bench {

static size_t resident_bytes()
{
	unsigned long total = 0, resident = 0;
	FILE *f = std::fopen("/proc/self/statm", "r");

	if (!f || std::fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	if (f)
		std::fclose(f);
	return resident * size_t(sysconf(_SC_PAGESIZE));
}

/* In the child. The references are the holder's, not the subject's. */
template <class Subject> static double bytes_per_entry(size_t n)
{
	std::vector<typename Subject::ref> held(n);

	std::memset(static_cast<void *>(held.data()), 0, n * sizeof held[0]);
	size_t before = resident_bytes();
	auto *subject = new Subject(0);
	for (size_t i = 0; i < n; i++)
		held[i] = subject->get(make_key<key_u64>(i), [i](payload &p) {
			for (auto &w : p.word)
				w = i;
		});
	double bytes = double(resident_bytes() - before) / double(n) - double(sizeof(payload));
	new std::vector<typename Subject::ref>(std::move(held)); /* nobody lets go: the process ends */
	return bytes;
}

template <class Subject> static double in_a_child(size_t n)
{
	int channel[2];
	double bytes = -1;

	std::fflush(nullptr);
	if (pipe(channel))
		return -1;
	pid_t child = fork();
	if (child == 0) {
		bytes = bytes_per_entry<Subject>(n);
		_exit(write(channel[1], &bytes, sizeof bytes) == sizeof bytes ? 0 : 1);
	}
	close(channel[1]);
	if (child < 0 || read(channel[0], &bytes, sizeof bytes) != sizeof bytes)
		bytes = -1;
	close(channel[0]);
	if (child > 0)
		waitpid(child, nullptr, 0);
	return bytes;
}

void run_w6(const settings &s)
{
	const size_t n = 1000000;
	std::vector<contender> field;

	each_subject<key_u64>([&](auto tag) {
		using subject = typename decltype(tag)::type;
		field.push_back({subject::name(), [](unsigned, uint64_t) { return sample{in_a_child<subject>(n)}; }});
	});
	add_foreign_memory(field, "u64", n);
	settings few = s; /* repeats to a few bytes in a thousand */
	few.rounds = s.quick() ? 1 : std::min(3u, s.rounds);
	compete(few, "w6", "u64", n, 1, field, "bytes");
}

} // namespace bench
