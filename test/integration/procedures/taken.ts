/** The steps of one clause that a driver's warm, consistent snapshot of a running VNF takes, in our order. */
export const taken: Readonly<Record<string, readonly string[]>> = {
  // Thawing does not wait for the bookkeeping of step 25.
  '6.4.1': ['13', '17', '21', '26', '25'],
  '6.4.2': ['17', '23', '29', '36', '35'],
  '6.4.3': ['13', '17'],
  '6.4.4': ['17', '23'],
  '6.5.1': ['2', '3', '5', '9', '10'],
  '6.5.2': ['2', '3', '5', '9'],
  '6.6.1': ['4'],
  '6.6.2': ['4-5'],
  '6.6.3': ['4'],
  '6.6.4': ['4-5'],
  '6.7.1': ['2', '3', '6', '7'],
  '6.7.2': ['2', '4', '5'],
  '6.7.3': ['2', '4'],
  '6.7.4': ['2', '4'],
  '6.7.6': ['2', '4'],
};
