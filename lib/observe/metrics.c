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
	if (format != HAPAX_METRICS_JSON && format != HAPAX_METRICS_PROMETHEUS)
		return HAPAX_EOPTION;
	rc = hpx_figures_gather(&figures);
	if (rc)
		return rc;
	rc = format == HAPAX_METRICS_JSON ? hpx_figures_json(&figures, HPX_JSON_ALL, write, ctx)
					  : hpx_figures_prometheus(&figures, write, ctx);
	errno = saved;
	return rc;
}
