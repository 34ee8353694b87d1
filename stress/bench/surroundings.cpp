/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "surroundings.hpp"

#include <ctime>
#include <fstream>

#include <sys/utsname.h>

namespace bench {

/* The text after "NAME...: " of the first line of the file that begins with `name`. */
static std::string line_of(const char *path, const char *name)
{
	std::ifstream in(path);
	std::string line;

	while (std::getline(in, line))
		if (line.rfind(name, 0) == 0 && line.find(": ") != std::string::npos)
			return line.substr(line.find(": ") + 2);
	return "unknown";
}

static std::string now()
{
	char text[64];
	std::time_t seconds = std::time(nullptr);
	std::tm parts{};

	gmtime_r(&seconds, &parts);
	std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
	return text;
}

/* "always [madvise] never": which is in brackets. */
static std::string huge_pages()
{
	std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
	std::string line;

	std::getline(in, line);
	size_t from = line.find('['), to = line.find(']');
	return from == std::string::npos || to == std::string::npos ? "unknown" : line.substr(from + 1, to - from - 1);
}

static std::string kernel()
{
	utsname name{};

	return uname(&name) ? "unknown" : std::string(name.sysname) + " " + name.release + " " + name.machine;
}

/* Without the folders of the program. */
static std::string command_line()
{
	std::ifstream in("/proc/self/cmdline");
	std::string word, line;

	while (std::getline(in, word, '\0'))
		line += line.empty() ? word.substr(word.rfind('/') + 1) : " " + word;
	return line;
}

std::vector<std::pair<const char *, std::string>> surroundings()
{
#ifdef __clang__
	const char *compiler = "clang " __clang_version__;
#else
	const char *compiler = "gcc " __VERSION__;
#endif
	return {{"when", now()},	 {"cpu", line_of("/proc/cpuinfo", "model name")},
		{"kernel", kernel()},	 {"huge_pages", huge_pages()},
		{"compiler", compiler},	 {"command_line", command_line()}};
}

} // namespace bench
