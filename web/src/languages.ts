/** The languages of this server, and what the visitor wrote in each. */

import { recall, remember } from "./storage";

export interface Language {
  id: string;
  name: string;
  aliases: string[];
  /** Name of the main file. */
  source: string;
  sample: { code: string; input: string };
  available: boolean;
  missing: { program: string; package: string }[];
}

export interface Catalogue {
  languages: Language[];
  limits?: "cgroup" | "best-effort";
  /** Whether a run needs a key. */
  auth?: "keys" | "open";
}

export async function fetchCatalogue(url: URL): Promise<Catalogue> {
  const response = await fetch(url, { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`the list of languages: HTTP ${response.status}`);
  return (await response.json()) as Catalogue;
}

/** The text of a language in the picker; a missing one names what to install. */
export function label(language: Language): string {
  if (language.available) return language.name;
  const packages = [...new Set(language.missing.map((need) => need.package))];
  return packages.length > 0 ? `${language.name} (install ${packages.join(", ")})` : `${language.name} (not installed)`;
}

export function storedCode(language: Language): string {
  return recall(`code.${language.id}`) ?? language.sample.code;
}

/** Code equal to the sample is not kept, so that a newer sample shows. */
export function storeCode(language: Language, code: string): void {
  remember(`code.${language.id}`, code === language.sample.code ? null : code);
}
