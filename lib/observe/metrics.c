/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe/metrics.c - hapax_metrics_write(). */
#include <errno.h>

#include "observe/figures.h"

int hapax_metrics_write(hapax_metrics_format format, hapax_write_fn write, void *ctx)
{
	__attribute__((cleanup(hpx_figures_drop))) struct hpx_figures figures = {.envs = 0};
	int rc, saved = errno;

	if (!write)
		return HAPAX_ENULL;
	if (format != HAPAX_METRICS_JSON)
		return HAPAX_EOPTION;
	rc = hpx_figures_gather(&figures);
	if (rc)
		return rc;
	rc = hpx_figures_json(&figures, HPX_JSON_ALL, write, ctx);
	errno = saved;
	return rc;
}
