-- SPDX-License-Identifier: LGPL-2.1-or-later
-- wrk -s keys.lua URL -- DISTRIBUTION KEYS RECORDS SEED: asks for /record/N, N drawn from KEYS of RECORDS records.
-- zipf: the k-th most popular of them is asked for with a probability that goes as 1/k; uniform: each as often as the others.
-- Ends with one line: RESULT and an object of JSON. Times in microseconds.
local threads = 0

function setup(thread)
	threads = threads + 1
	thread:set("number", threads)
end

function init(args)
	distribution, keys, records = args[1], tonumber(args[2]), tonumber(args[3])
	math.randomseed(tonumber(args[4]) * 64 + number)
	sums, sum = {}, 0
	if distribution == "zipf" then
		for k = 1, keys do
			sum = sum + 1 / k
			sums[k] = sum
		end
	end
end

local function rank()
	if distribution ~= "zipf" then
		return math.random(keys)
	end
	local at, low, high = math.random() * sum, 1, keys
	while low < high do
		local middle = math.floor((low + high) / 2)
		if sums[middle] < at then
			low = middle + 1
		else
			high = middle
		end
	end
	return low
end

function request()
	return wrk.format("GET", "/record/" .. (rank() * 7919 % records + 1)) -- popular ones are not neighbours in the database
end

function done(summary, latency)
	local e = summary.errors
	io.write(string.format('RESULT {"requests":%d,"us":%d,"errors":%d,"p50":%d,"p99":%d,"p999":%d,"max":%d}\n', summary.requests,
		summary.duration, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99),
		latency:percentile(99.9), latency.max))
end
