#include "engine.h"
int start_first(struct workshop_of_engines *workshop)
{
	return rounds_of_the_engine(workshop->all_engines_here) + sizeof("first");
}
