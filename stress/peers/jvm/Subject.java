// SPDX-License-Identifier: LGPL-2.1-or-later
import java.nio.file.Path;
import java.util.jar.JarFile;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A cache. What get() returns is an ordinary reference: the collector, not a count, says when the object dies. */
interface Subject {
	/** The object of the key, loaded if there is none. */
	Payload get(Object key, Work.Loader loader, long i, Work.Tally tally);

	String version();

	/** Makes a subject. Bound 0: weak values, which live as long as somebody holds them. */
	static Subject make(String name, int bound) throws ReflectiveOperationException {
		String type = Character.toUpperCase(name.charAt(0)) + name.substring(1) + "Subject";
		return (Subject) Class.forName(type).getDeclaredConstructor(int.class).newInstance(bound);
	}

	/** As the file name of a library says it (caffeine-2.6.2.jar), or its manifest. */
	static String versionOf(Class<?> type) {
		try {
			Path jar = Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toRealPath();
			Matcher named = Pattern.compile("-([0-9].*)\\.jar$").matcher(jar.getFileName().toString());
			if (named.find())
				return named.group(1);
			try (JarFile file = new JarFile(jar.toFile())) {
				return file.getManifest().getMainAttributes().getValue("Bundle-Version");
			}
		} catch (Exception e) {
			return "of unknown version";
		}
	}
}
