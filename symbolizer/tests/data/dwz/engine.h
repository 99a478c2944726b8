/* What both objects of the dwz test have in common: large enough for dwz to share it. */
struct engine_with_a_long_name { int rounds_per_minute; int cylinders_of_the_engine; struct engine_with_a_long_name *next_engine; };
enum state_of_an_engine { ENGINE_IS_STOPPED, ENGINE_IS_STARTING, ENGINE_IS_RUNNING, ENGINE_IS_ON_FIRE };
struct workshop_of_engines { struct engine_with_a_long_name *all_engines_here; enum state_of_an_engine state_of_the_first; };
static inline __attribute__((always_inline)) int rounds_of_the_engine(volatile struct engine_with_a_long_name *engine)
{
	int rounds_per_minute = engine->rounds_per_minute;
	return rounds_per_minute * engine->cylinders_of_the_engine;
}
