// The filter box: hides messages whose text has not all of the words that were typed.
'use strict';

const box = document.getElementById('filter');
const articles = [...document.querySelectorAll('.channel > .message')];
const channels = [...document.querySelectorAll('.channel')];
const noMatch = document.querySelector('.no-match');
const texts = new Map(articles.map((each) => [each, each.textContent.toLowerCase()]));

function matches(article, words) {
  return words.every((word) => texts.get(article).includes(word));
}

function filter() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of articles) {
    article.hidden = !matches(article, words);
    for (const link of document.querySelectorAll(`nav a[href="#${CSS.escape(article.id)}"]`)) {
      link.parentElement.hidden = article.hidden;
    }
  }
  for (const channel of channels) {
    channel.hidden = words.length > 0 && !channel.querySelector(':scope > .message:not([hidden])');
  }
  noMatch.hidden = channels.some((channel) => !channel.hidden) || words.length === 0;
}

function showTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target !== null && target.closest('[hidden]') !== null) {
    box.value = '';
    filter();
    target.scrollIntoView();
  }
}

box.hidden = false;
box.addEventListener('input', filter);
addEventListener('hashchange', showTarget);
addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== box) {
    event.preventDefault();
    box.focus();
  }
});
