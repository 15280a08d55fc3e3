/** Periods as Windows shows them: a number and a unit, in the language of the server. */

/** A year is 365 days and a month 30, as AD CS's own periods are. */
const DAYS = { hour: 1 / 24, day: 1, week: 7, month: 30, year: 365 } as const;

/** The longest that a certificate or a CRL may sensibly live. */
const DAYS_MAX = 36_500;

/** Units by how they begin, without accents: English, German, French, Spanish, Italian, Portuguese, Dutch. */
const units: readonly (readonly [beginning: RegExp, days: number])[] = [
  [/^(hour|stunde|heure|hora|or[ae]|uur|uren)/, DAYS.hour],
  [/^(day|tag|jour|dia|giorn|dag)/, DAYS.day],
  [/^(week|woche|semaine|semana|settiman|weken)/, DAYS.week],
  [/^(month|monat|mois|mes|maand)/, DAYS.month],
  [/^(year|jahr|an|jaar|jaren)/, DAYS.year],
];

/** Days of `1 Years`, `6 Wochen`; `undefined` for words that are not known here, and for no time at all. */
export function periodDays(shown: string): number | undefined {
  const match = /^(\d{1,5})\s+(\p{L}+)$/u.exec(shown.trim());
  const word = (match?.[2] ?? '').normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase();
  const unit = units.find(([beginning]) => beginning.test(word))?.[1];
  if (match === null || unit === undefined) return undefined;
  const days = Number(match[1]) * unit;
  return days > 0 && days <= DAYS_MAX ? days : undefined;
}
