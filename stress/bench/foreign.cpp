/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "foreign.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef HAPAX_PEERS
#define HAPAX_PEERS ""
#endif

namespace bench {

using steady = std::chrono::steady_clock;

/* A child process and the socket that is its standard input and output. */
class peer_process {
	pid_t pid_ = -1;
	int socket_ = -1;
	std::string buffer_{};

	void become(const char *path, const char *argument, int end, pid_t parent)
	{
		char *const argv[] = {const_cast<char *>(path), const_cast<char *>(argument), nullptr};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || dup2(end, 0) < 0 || dup2(end, 1) < 0)
			_exit(127);
		execv(path, argv);
		_exit(127);
	}

public:
	/* `argument`: how many objects there will be */
	peer_process(const std::string &path, size_t objects)
	{
		std::string argument = std::to_string(objects);
		pid_t parent = getpid();
		int ends[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
			return;
		std::fflush(nullptr);
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 34)
		pid_ = _Fork(); /* nobody's fork handlers: the child only becomes another program */
#else
		pid_ = fork();
#endif
		if (pid_ == 0)
			become(path.c_str(), argument.c_str(), ends[1], parent);
		close(ends[1]);
		socket_ = ends[0];
	}
	peer_process(const peer_process &) = delete;
	peer_process &operator=(const peer_process &) = delete;
	~peer_process()
	{
		if (pid_ > 0) {
			send("quit");
			for (int tries = 0; tries < 100; tries++) { /* a second: it has memory to give back */
				if (waitpid(pid_, nullptr, WNOHANG) != 0) {
					pid_ = -1;
					break;
				}
				std::this_thread::sleep_for(std::chrono::milliseconds(10));
			}
		}
		end();
	}
	/* At once. */
	void end()
	{
		if (pid_ > 0) {
			kill(pid_, SIGKILL);
			waitpid(pid_, nullptr, 0);
		}
		if (socket_ >= 0)
			close(socket_);
		pid_ = socket_ = -1;
	}
	bool alive() const { return pid_ > 0; }

	bool send(const std::string &line)
	{
		std::string text = line + "\n";
		return socket_ >= 0 && ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
	}
	/* The next line. On end of file or no line in time the process is ended, and the answer is "absent" and why. */
	std::string receive(double seconds)
	{
		auto deadline = steady::now() + std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(seconds));

		for (;;) {
			size_t line = buffer_.find('\n');
			if (line != std::string::npos) {
				std::string text = buffer_.substr(0, line);
				buffer_.erase(0, line + 1);
				return text;
			}
			auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady::now()).count();
			pollfd wait = {socket_, POLLIN, 0};
			int ready = socket_ < 0 ? -1 : left <= 0 ? 0 : poll(&wait, 1, int(std::min<long long>(left, 1 << 30)));
			if (ready < 0 && socket_ >= 0 && errno == EINTR)
				continue;
			if (ready <= 0) {
				end();
				return ready == 0 ? "absent it did not answer in time" : "absent it has gone";
			}
			char text[4096];
			ssize_t got = read(socket_, text, sizeof text);
			if (got <= 0) {
				end();
				return "absent it has gone";
			}
			buffer_.append(text, size_t(got));
		}
	}
	std::string ask(const std::string &line, double seconds)
	{
		send(line);
		return receive(seconds);
	}
};

/* The programs in the directory of peers, by name. */
static std::vector<std::string> programs()
{
	std::vector<std::string> found;

	if (DIR *directory = *HAPAX_PEERS ? opendir(HAPAX_PEERS) : nullptr) {
		while (const dirent *entry = readdir(directory)) {
			std::string path = std::string(HAPAX_PEERS) + "/" + entry->d_name;
			if (entry->d_type == DT_REG && access(path.c_str(), X_OK) == 0)
				found.push_back(path);
		}
		closedir(directory);
	}
	std::sort(found.begin(), found.end());
	return found;
}

static std::string file_name(const std::string &path) { return path.substr(path.rfind('/') + 1); }

/* The first word, and the rest. */
static std::pair<std::string, std::string> cut(const std::string &line)
{
	size_t space = line.find(' ');
	return space == std::string::npos ? std::make_pair(line, std::string())
					  : std::make_pair(line.substr(0, space), line.substr(space + 1));
}

/* Starts the program and asks its name; NULL: absent. */
static std::shared_ptr<peer_process> start(const std::string &path, size_t n, const char *workload, std::string &name)
{
	auto peer = std::make_shared<peer_process>(path, n);
	auto answer = cut(peer->ask("hello", 60));

	if (answer.first != "peer") {
		note_absent(file_name(path), workload, answer.second);
		return nullptr;
	}
	auto said = cut(answer.second);
	name = said.first;
	note_version(name, said.second);
	return peer;
}

/* As pin() in measure.hpp, from outside: not every language can do it. */
static void pin_other(pid_t id, unsigned thread, unsigned threads)
{
	unsigned cores = std::thread::hardware_concurrency();
	cpu_set_t set;

	if (id <= 0 || threads > cores)
		return;
	CPU_ZERO(&set);
	CPU_SET((cores - 1 - thread) % cores, &set);
	sched_setaffinity(id, sizeof set, &set);
}

static sample run(const std::string &name, const char *workload, peer_process &peer, unsigned threads, double seconds,
		  uint64_t seed, uint64_t load_ns)
{
	std::ostringstream request;
	sample out;

	out.value = -1;
	request << "run " << threads << ' ' << seconds << ' ' << seed << ' ' << load_ns;
	if (!peer.alive() || !peer.send(request.str()))
		return out;
	auto answer = cut(peer.receive(60));
	for (unsigned started = 0; answer.first == "thread"; answer = cut(peer.receive(seconds + 60))) {
		auto id = cut(answer.second);
		pin_other(pid_t(std::atol(id.second.c_str())), unsigned(std::atol(id.first.c_str())), threads);
		if (++started == threads)
			peer.send("go");
	}
	if (answer.first != "mops") {
		note_absent(name, workload, answer.second);
		peer.end();
		return out;
	}
	std::istringstream words(answer.second);
	std::string figure;
	words >> out.value;
	for (double value; words >> figure >> value;)
		if (figure == "hit_ratio")
			out.hit_ratio = value;
		else
			out.figures[figure] = value;
	return out;
}

void add_foreign(std::vector<contender> &field, const settings &s, const foreign_work &work,
		 const std::function<uint64_t()> &load_ns)
{
	for (const std::string &path : programs()) {
		std::ostringstream request;
		std::string name;
		auto peer = start(path, work.n, work.workload, name);

		if (!peer || !takes_part(name))
			continue;
		request << "populate " << work.workload << ' ' << work.key << ' ' << work.n;
		if (work.draws > 0)
			request << ' ' << work.draws;
		auto answer = cut(peer->ask(request.str(), 180 + double(work.n) * 2e-5));
		if (answer.first != "ok") {
			note_absent(name, work.workload, answer.second);
			continue;
		}
		field.push_back({name, [=, workload = work.workload, seconds = s.seconds](unsigned threads, uint64_t seed) {
					uint64_t ns = load_ns ? load_ns() : 0;
					/* uncounted, as in run_threads(); other requests than those that count */
					run(name, workload, *peer, threads, seconds / 4, seed + 1000000007, ns);
					return run(name, workload, *peer, threads, seconds, seed, ns);
				}});
	}
}

void add_foreign_memory(std::vector<contender> &field, const char *key, size_t n)
{
	for (const std::string &path : programs()) {
		/* a process for each measurement; the first one tells who can */
		auto measure = [=](std::string &name) {
			auto peer = start(path, n, "w6", name);
			if (!peer || !takes_part(name))
				return -1.0;
			auto answer = cut(peer->ask(std::string("memory ") + key + ' ' + std::to_string(n), 180));
			if (answer.first != "bytes")
				note_absent(name, "w6", answer.second);
			return answer.first == "bytes" ? std::atof(answer.second.c_str()) : -1;
		};
		std::string who;

		if (measure(who) > 0)
			field.push_back({who, [measure](unsigned, uint64_t) {
						std::string name;
						return sample{measure(name)};
					}});
	}
}

} // namespace bench
